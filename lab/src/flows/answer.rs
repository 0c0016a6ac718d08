//! An answer of HTTP/1.1 on a connection that stays open.
//!
//! Pure. Only a body with `Content-Length` is understood (RFC 9112 section 6.2): the lab's web servers send no other.

use crate::load::NAME_HEADER;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code; 0 if the first line is not one of HTTP.
    pub(super) status: u16,
    /// The frontend in the header, `?` without it.
    pub(super) frontend: String,
    /// Whether the server closes the connection now (`Connection: close`).
    pub(super) is_last: bool,
}

/// The answer at the beginning of `octets`; `None`: it is not complete.
pub(super) fn read(octets: &[u8]) -> Option<Answer> {
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&octets[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let (mut length, mut frontend, mut is_last) = (0_usize, "?", false);
    for (key, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if key.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        } else if key.eq_ignore_ascii_case(NAME_HEADER) {
            frontend = value;
        } else if key.eq_ignore_ascii_case("connection") {
            is_last = value.eq_ignore_ascii_case("close");
        }
    }
    let is_complete = octets.len() - end - 4 >= length;
    is_complete.then(|| Answer { status, frontend: frontend.to_owned(), is_last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_its_last_octet_is_there() {
        let text =
            b"HTTP/1.1 200 OK\r\nX-Frontend: fe2\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nfe2\n";
        let answer = Answer { status: 200, frontend: "fe2".to_owned(), is_last: false };
        assert_eq!(read(text), Some(answer));
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), None, "{end}");
        }
        let last = read(b"HTTP/1.1 503 No\r\nconnection: Close\r\n\r\n").unwrap();
        assert_eq!((last.status, last.frontend.as_str(), last.is_last), (503, "?", true));
        assert_eq!(read(b"SSH-2.0\r\n\r\n").unwrap().status, 0);
    }
}
