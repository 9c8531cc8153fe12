//! The pod's termination message, which `kubectl describe` shows when the container has ended.

use std::path::Path;

/// Kubernetes' default `terminationMessagePath`; outside a pod there is no such file.
const PATH: &str = "/dev/termination-log";
/// In bytes. Kubernetes keeps 4,096.
const LIMIT: usize = 4_000;

pub fn write(text: &str) {
    let path = Path::new(PATH);
    if !path.is_file() {
        return;
    }
    let text = text.get(..text.floor_char_boundary(LIMIT)).unwrap_or(text);
    // A message that cannot be written must not change how the command ends.
    if let Err(error) = std::fs::write(path, text) {
        tracing::debug!(%error, "cannot write {PATH}");
    }
}
