//! stdout for a command that writes while it reads, in constant memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

const BUFFER: usize = 64 << 10;

/// A buffered stdout of its own: it takes no lock, so that a reader that has stopped reading cannot keep the process
/// from its end.
pub struct Stdout(BufWriter<File>);

impl Stdout {
    /// Opens it.
    ///
    /// # Errors
    /// A stdout that is closed.
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
