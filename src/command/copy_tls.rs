//! `copy-tls`: hands etcd's TLS files, and no other file of the node, to a container that is not root.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cli::CopyTlsArgs;
use crate::exit::{Exit, Failure};
use crate::system::fs::read_small;

pub fn copy_tls(args: &CopyTlsArgs) -> Result<(), Failure> {
    for (setting, file) in [("cacert", &args.cacert), ("cert", &args.cert), ("key", &args.key)] {
        let Some(file) = file.as_ref().filter(|file| !file.as_os_str().is_empty()) else { continue };
        let refused = |why: String| Failure::settings(format!("{setting}: {why}"));
        let (shown, from) = (file.display(), args.from.display());
        // The next container mounts `--to` in the place of `--from`, so its settings lead to files below that alone.
        let copy = destination(file, args)
            .ok_or_else(|| refused(format!("`{shown}` is not below {from}, and cannot be copied")))?;
        let content = read_small(file).map_err(|e| refused(format!("cannot read {shown}: {e}")))?;
        write(&copy, &content).map_err(|e| {
            Failure::message(Exit::Disk, format!("cannot write the copy of {shown} to {}: {e}", copy.display()))
        })?;
        tracing::info!("copied {shown} to {}", copy.display());
    }
    Ok(())
}

fn destination(file: &Path, args: &CopyTlsArgs) -> Option<PathBuf> {
    let inside = file.strip_prefix(&args.from).ok()?;
    // A `..` would lead out of `--to`.
    inside.components().all(|part| matches!(part, std::path::Component::Normal(_))).then(|| args.to.join(inside))
}

/// Makes the copy readable by the group of the volume, which is the pod's `fsGroup`.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    }
    // A container that is retried finds its own copies. They are removed and not written to, because something else in
    // the volume may have put a link in their place.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o440).open(path)?.write_all(content)
}
