//! A port whose connections are never answered, as behind a firewall that drops them.

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    time::{Duration, timeout},
};

/// A listener whose queue is full: the kernel drops every further attempt to connect.
pub struct Unreachable {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
    _runtime: Runtime,
}

impl Unreachable {
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (listener, queued) = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(0).unwrap();
            let mut queued = Vec::new();
            let address = listener.local_addr().unwrap();
            while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
                queued.push(stream.unwrap());
            }
            (listener, queued)
        });
        Self { listener, _queued: queued, _runtime: runtime }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }
}
