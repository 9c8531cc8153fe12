//! Tells `http://` and `https://` apart where the setting has it wrong: the failure itself does not say so.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::url::Url;

/// Enough for a member that closed the connection a moment ago.
const PATIENCE: Duration = Duration::from_secs(2);
/// A question that every plain port answers.
const PLAIN: &[u8] = b"GET /version HTTP/1.0\r\n\r\n";
/// The head of the smallest TLS greeting: a record with a `ClientHello` of version 1.2.
const HELLO: &[u8] = &[0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 3];
/// Its rest behind 32 bytes of chance: no session, one cipher suite, no compression.
const HELLO_REST: &[u8] = &[0, 0, 2, 0xc0, 0x2f, 1, 0];

/// What to write instead, when the member speaks the other scheme than its endpoint has.
pub async fn mistaken(endpoint: &Url) -> Option<String> {
    let authority = endpoint.authority();
    let hello = [HELLO, &[0; 32], HELLO_REST].concat();
    let question = if endpoint.is_tls() { PLAIN } else { &hello };
    let answer = tokio::time::timeout(PATIENCE, ask(&authority, question)).await.ok()?.ok()?;
    match (endpoint.is_tls(), &answer) {
        (true, b"HTTP/") => Some(format!("the member does not speak TLS; write http://{authority}")),
        // An alert or a handshake: whatever it thinks of the greeting, it speaks TLS.
        (false, [0x15 | 0x16, 3, ..]) => Some(format!("the member speaks only TLS; write https://{authority}")),
        _ => None,
    }
}

/// The first bytes of the answer.
async fn ask(authority: &str, question: &[u8]) -> std::io::Result<[u8; 5]> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(question).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
