//! How far a long transfer is: a bar on a terminal, else a log line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};

const EVERY: Duration = Duration::from_secs(10);

/// Shows one transfer.
pub struct Meter {
    what: &'static str,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Meter {
    /// Begins; on a terminal nothing is shown before the first bytes.
    pub fn new(what: &'static str) -> Self {
        Self { what, bar: std::io::stderr().is_terminal().then(|| bar(what)), said: Instant::now() }
    }

    /// Shows `done` of `total` bytes.
    pub fn show(&mut self, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if self.said.elapsed() >= EVERY => {
                self.said = Instant::now();
                tracing::info!(bytes = done, total, "{}: {} of {}", self.what, ByteSize(done), ByteSize(total));
            }
            None => {}
        }
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
