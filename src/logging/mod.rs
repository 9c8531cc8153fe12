//! Sets up the log on stderr. stdout is for reports alone.

pub mod progress;

use std::fmt;

use chrono::Utc;
use chrono_tz::Tz;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;

use crate::cli::{Format, OutputArgs};

/// Timestamps in the time zone of the backups' names, so that both can be compared.
struct Zoned(Tz);

impl FormatTime for Zoned {
    #[expect(clippy::disallowed_methods, reason = "the time of a log line; nothing is decided by it")]
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", Utc::now().with_timezone(&self.0).format("%Y-%m-%dT%H:%M:%S%.3f%:z"))
    }
}

/// The message and its fields in one line, whatever text of others is in them.
struct Plain;

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&crate::plain::escaped(&text))
    }
}

pub fn start(args: &OutputArgs, zone: Tz) {
    // tonic and h2 log too, at `debug` every frame.
    let filter = tracing_subscriber::filter::Targets::new().with_target("etcd_backup", args.log_level);
    let layer =
        tracing_subscriber::fmt::layer().with_timer(Zoned(zone)).with_target(false).with_writer(std::io::stderr);
    // The two formats are layers of different types, hence the box.
    let registry = |layer: Box<dyn tracing_subscriber::Layer<_> + Send + Sync>| {
        use tracing_subscriber::prelude::*;
        tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    };
    match args.log_format {
        Format::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry(Box::new(layer.with_ansi(is_terminal).fmt_fields(Plain)));
        }
        Format::Json => registry(Box::new(layer.json().flatten_event(true))),
    }
}
