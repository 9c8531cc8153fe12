//! Finds out whether a member failed because it speaks http and its endpoint says https, or the other way round. The
//! failure itself does not tell.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::url::Url;

/// Short, because a member that timed out is not asked, only one that refused or broke the connection.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A request that every port without TLS answers.
const HTTP_REQUEST: &[u8] = b"GET /version HTTP/1.0\r\n\r\n";
/// The head of the smallest TLS handshake: a record with a `ClientHello` of version 1.2.
const HELLO_HEAD: &[u8] = &[0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 3];
/// What follows its 32 random bytes: no session, one cipher suite (ECDHE, RSA, AES-128-GCM), no compression.
const HELLO_TAIL: &[u8] = &[0, 0, 2, 0xc0, 0x2f, 1, 0];

/// What is wrong and what to write instead, if the member speaks the other scheme.
pub async fn wrong_scheme(endpoint: &Url) -> Option<String> {
    let authority = endpoint.authority();
    // The random bytes may be zeros, because the handshake is never finished.
    let hello = [HELLO_HEAD, &[0; 32], HELLO_TAIL].concat();
    let request = if endpoint.is_tls() { HTTP_REQUEST } else { &hello };
    let answer = tokio::time::timeout(TIMEOUT, ask(&authority, request)).await.ok()?.ok()?;
    match (endpoint.is_tls(), &answer) {
        (true, b"HTTP/") => Some(format!("the member does not speak TLS; write http://{authority}")),
        // A TLS alert or a handshake: even a refusal of our `ClientHello` is TLS.
        (false, [0x15 | 0x16, 3, ..]) => Some(format!("the member speaks only TLS; write https://{authority}")),
        _ => None,
    }
}

/// The first bytes of the answer.
async fn ask(authority: &str, request: &[u8]) -> std::io::Result<[u8; 5]> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(request).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
