//! stdout for a command that writes while it reads, in constant memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

const BUFFER: usize = 64 << 10;

/// A buffered stdout. It takes no lock, because a reader that has stopped reading would then keep the whole process from
/// ending.
pub struct Stdout(BufWriter<File>);

impl Stdout {
    pub fn open() -> io::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self(BufWriter::with_capacity(BUFFER, out)))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
