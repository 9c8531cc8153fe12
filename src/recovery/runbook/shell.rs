//! Words and small commands for a POSIX shell.

pub fn flag(name: &str, value: &str) -> String {
    format!("--{name}={}", quoted(value))
}

pub fn quoted(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument has one.
    shlex::try_quote(word).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

pub fn say(text: &str) -> String {
    format!("echo {}", quoted(text))
}

/// Says what is wrong, and fails.
pub fn refuse(text: &str) -> String {
    format!("{{ {} >&2; false; }}", say(text))
}

/// Branches of which the first one counts whose condition holds, and what is done if none does.
pub fn first_of(branches: &[(String, String)], otherwise: &str) -> String {
    let mut lines = Vec::new();
    for (n, (condition, command)) in branches.iter().enumerate() {
        lines.push(format!("{} {condition}; then", if n == 0 { "if" } else { "elif" }));
        lines.push(indented(command));
    }
    lines.extend(["else".to_owned(), indented(otherwise), "fi".to_owned()]);
    lines.join("\n")
}

fn indented(command: &str) -> String {
    command.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Moves the manifests of these pods, never over another one. One that is there already is left alone. Where one is in
/// neither directory, one of `elsewhere` (a pattern of directories) has to be brought to `wanted`, else `on_missing`.
pub fn move_manifests(pods: &str, (from, to): (&str, &str), elsewhere: (&str, &str), on_missing: &str) -> String {
    let (dirs, wanted) = elsewhere;
    let steps = first_of(
        &[
            (
                format!("[ -e {from}/$pod.yaml ] && [ -e {to}/$pod.yaml ]"),
                format!(
                    "echo \"$pod.yaml is in {from} and in {to}: compare the two, and remove the one that is wrong\" >&2; false"
                ),
            ),
            (format!("[ -e {from}/$pod.yaml ]"), format!("mv -n {from}/$pod.yaml {to}/")),
            (format!("[ -e {to}/$pod.yaml ]"), format!("echo \"$pod.yaml is in {to} already\"")),
            (
                format!("ls {dirs}/$pod.yaml >/dev/null 2>&1"),
                format!(
                    "echo \"stop: an earlier plan has moved $pod.yaml to $(echo {dirs}/$pod.yaml): move it to {wanted}, then paste this block again\" >&2; false"
                ),
            ),
        ],
        on_missing,
    );
    format!("for pod in {pods}; do\n{steps}\ndone", steps = indented(&steps))
}
