//! A blocking HTTP/1.1 client with one connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Headers of remote write.
pub const WRITE: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";

pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        Self { reader: BufReader::with_capacity(1 << 18, stream) }
    }

    /// Status and body.
    pub fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let stream = self.reader.get_mut();
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: p\r\nContent-Length: {}\r\n{headers}\r\n", body.len())
                .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).expect("a request");
        let status = self.line();
        let status: u16 = status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            chunked |= line.starts_with("transfer-encoding:") && line.ends_with("chunked");
        }
        let mut body = Vec::new();
        if !chunked {
            body.resize(length, 0);
            self.reader.read_exact(&mut body).expect("a body");
            return (status, body);
        }
        loop {
            let size = usize::from_str_radix(self.line().trim(), 16).expect("the size of a chunk");
            let at = body.len();
            body.resize(at + size, 0);
            self.reader.read_exact(&mut body[at..]).expect("a chunk");
            self.line();
            if size == 0 {
                return (status, body);
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }
}
