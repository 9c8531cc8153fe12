//! How far a long transfer is: a bar on a terminal, else a log line now and then.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};

/// How often a log line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// The progress of one transfer.
pub struct Meter {
    what: &'static str,
    bar: Option<ProgressBar>,
    logged: Instant,
}

impl Meter {
    pub fn new(what: &'static str) -> Self {
        Self { what, bar: std::io::stderr().is_terminal().then(|| bar(what)), logged: Instant::now() }
    }

    /// Shows `done` of `total` bytes.
    pub fn show(&mut self, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if self.logged.elapsed() >= EVERY => {
                self.logged = Instant::now();
                tracing::info!(bytes = done, total, "{}: {} of {}", self.what, ByteSize(done), ByteSize(total));
            }
            None => {}
        }
    }
}

/// A reader whose progress is shown.
pub struct Metered<R> {
    inner: R,
    meter: Meter,
    done: u64,
    total: u64,
}

impl<R> Metered<R> {
    /// `total` is the number of bytes to come, 0 when it is not known.
    pub fn new(what: &'static str, inner: R, total: u64) -> Self {
        Self { inner, meter: Meter::new(what), done: 0, total }
    }

    /// Bytes read so far.
    pub const fn done(&self) -> u64 {
        self.done
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done = self.done.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        self.meter.show(self.done, self.total.max(self.done));
        Ok(read)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(0).with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
