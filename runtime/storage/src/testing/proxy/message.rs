//! Just enough of HTTP/1.1 to know where a message ends. Bytes are kept as they came.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

/// Longest head that is taken.
const MAX_HEAD: usize = 64 << 10;
/// Longest body that is taken.
const MAX_BODY: usize = 256 << 20;

/// A request or an answer.
#[derive(Debug)]
pub(super) struct Message {
    /// First line and header lines with the empty line.
    head: String,
    /// As on the wire, with its chunks if it came in chunks.
    pub(super) body: Vec<u8>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
    UntilEnd,
}

impl Message {
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }

    fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Whether a request changes the store.
    pub(super) fn is_write(&self) -> bool {
        matches!(self.method(), "PUT" | "POST" | "DELETE")
    }

    fn status(&self) -> Option<u16> {
        self.head.split(' ').nth(1)?.parse().ok()
    }

    /// Whether an answer says that the request was carried out.
    pub(super) fn is_success(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    pub(super) fn ends_connection(&self) -> bool {
        self.framing == Framing::UntilEnd
            || header(&self.head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The answer with half its body and a length that agrees; an answer without a body promises one that never comes, and that to a
    /// `HEAD` states half the object's length.
    pub(super) fn with_wrong_length(&self) -> Vec<u8> {
        if self.framing != Framing::Length {
            let bytes = self.bytes();
            return bytes[..bytes.len() - self.body.len().div_ceil(2)].to_vec();
        }
        let stated: usize = header(&self.head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let wrong = if stated == 0 { 7 } else { stated / 2 };
        let lines =
            self.head.split_inclusive("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
        let mut head: String = lines.collect();
        head.truncate(head.len() - 2);
        head.push_str(&format!("Content-Length: {wrong}\r\n\r\n"));
        [head.as_bytes(), &self.body[..self.body.len().min(wrong)]].concat()
    }
}

/// The next request, or `None` if the client has ended the connection.
pub(super) async fn read_request(from: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let Some(head) = read_head(from).await? else { return Ok(None) };
    let framing = if is_chunked(&head) { Framing::Chunks } else { Framing::Length };
    let body = read_body(from, &head, framing).await?;
    Ok(Some(Message { head, body, framing }))
}

/// The answer to a request.
pub(super) async fn read_answer(from: &mut BufReader<TcpStream>, request: &Message) -> io::Result<Message> {
    let head = read_head(from).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let bodiless = request.method() == "HEAD" || matches!(status, "204" | "304");
    let framing = match (is_chunked(&head), header(&head, "content-length")) {
        (true, _) => Framing::Chunks,
        (false, None) if !bodiless => Framing::UntilEnd,
        _ => Framing::Length,
    };
    let body = if bodiless { Vec::new() } else { read_body(from, &head, framing).await? };
    Ok(Message { head, body, framing })
}

async fn read_head(from: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if from.read_until(b'\n', &mut head).await? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if &head[before..] == b"\r\n" {
            return String::from_utf8(head)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if head.len() > MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "head too long"));
        }
    }
}

async fn read_body(from: &mut BufReader<TcpStream>, head: &str, framing: Framing) -> io::Result<Vec<u8>> {
    match framing {
        Framing::Length => {
            let length = header(head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            read_exactly(from, length).await
        }
        Framing::Chunks => read_chunks(from).await,
        Framing::UntilEnd => {
            let mut body = Vec::new();
            from.read_to_end(&mut body).await?;
            Ok(body)
        }
    }
}

async fn read_exactly(from: &mut BufReader<TcpStream>, length: usize) -> io::Result<Vec<u8>> {
    if length > MAX_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "body too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

async fn read_chunks(from: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = body.len();
        from.read_until(b'\n', &mut body).await?;
        let text = std::str::from_utf8(&body[line..]).unwrap_or_default();
        let digits = text.trim_end().split(';').next().unwrap_or_default();
        let size =
            usize::from_str_radix(digits, 16).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        body.extend(read_exactly(from, size).await?);
        // After the last chunk come trailers up to an empty line, after every other one the end of its line.
        loop {
            let end = body.len();
            from.read_until(b'\n', &mut body).await?;
            if size > 0 || &body[end..] == b"\r\n" || body.len() == end {
                break;
            }
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn is_chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &str, body: &str) -> Message {
        Message { head: head.to_owned(), body: body.as_bytes().to_vec(), framing: Framing::Length }
    }

    fn wrong(head: &str, body: &str) -> String {
        String::from_utf8(answer(head, body).with_wrong_length()).unwrap()
    }

    #[test]
    fn a_wrong_length_agrees_with_the_cut_body() {
        assert_eq!(
            wrong("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: x\r\n\r\n", "0123456789"),
            "HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 5\r\n\r\n01234"
        );
        assert_eq!(
            wrong("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", ""),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        );
        assert_eq!(
            wrong("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
        );
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let head = "GET / HTTP/1.1\r\nHost: x:1\r\nTRANSFER-Encoding: Chunked\r\n\r\n";
        assert_eq!(header(head, "host"), Some("x:1"));
        assert!(is_chunked(head));
    }
}
