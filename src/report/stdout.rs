//! stdout for a command that writes while it reads, in constant memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

/// As much as a pipe holds by default on Linux.
const BUFFER: usize = 64 << 10;

/// A buffered stdout.
// Not `io::stdout`: Rust flushes that when the process ends, which hangs if the reader has stopped reading.
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
