//! The progress of a long transfer: a bar on a terminal, otherwise a log line every few seconds.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};

const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub struct Meter {
    what: &'static str,
    bar: Option<ProgressBar>,
    last_logged: Instant,
}

impl Meter {
    pub fn new(what: &'static str) -> Self {
        Self { what, bar: std::io::stderr().is_terminal().then(|| bar(what)), last_logged: Instant::now() }
    }

    /// Shows `done` of `total` bytes.
    pub fn show(&mut self, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if self.last_logged.elapsed() >= LOG_INTERVAL => {
                self.last_logged = Instant::now();
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
    /// `total` is 0 where the number of bytes is not known.
    pub fn new(what: &'static str, inner: R, total: u64) -> Self {
        Self { inner, meter: Meter::new(what), done: 0, total }
    }

    /// The bytes read so far.
    pub const fn done(&self) -> u64 {
        self.done
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done = self.done.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        // The total may be unknown, and a file may grow while it is read.
        self.meter.show(self.done, self.total.max(self.done));
        Ok(read)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Otherwise what is written next would be on the bar's line.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(0).with_message(what);
    // The template is fixed, but a mistake in it must not cost a backup.
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
