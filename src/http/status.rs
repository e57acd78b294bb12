//! Status codes that this server sends, with their reason phrases (RFC 9110 section 15).
//!
//! Thread: any, pure.
//! Not here: which request earns which status (`http::request`, `http::reply`).

/// A status code that peerage sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "each name is the reason phrase of RFC 9110 section 15")]
pub enum Status {
    Continue = 100,
    Ok = 200,
    NoContent = 204,
    PartialContent = 206,
    NotModified = 304,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    PreconditionFailed = 412,
    ContentTooLarge = 413,
    UriTooLong = 414,
    RangeNotSatisfiable = 416,
    ExpectationFailed = 417,
    MisdirectedRequest = 421,
    RequestHeaderFieldsTooLarge = 431,
    InternalServerError = 500,
    NotImplemented = 501,
    BadGateway = 502,
    ServiceUnavailable = 503,
    GatewayTimeout = 504,
    HttpVersionNotSupported = 505,
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The hundreds digit: 1 to 5.
    #[must_use]
    pub const fn class(self) -> usize {
        (self as u16 / 100) as usize
    }

    /// `HTTP/1.1 404 Not Found\r\n`: the whole status line.
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Self::Continue => "HTTP/1.1 100 Continue\r\n",
            Self::Ok => "HTTP/1.1 200 OK\r\n",
            Self::NoContent => "HTTP/1.1 204 No Content\r\n",
            Self::PartialContent => "HTTP/1.1 206 Partial Content\r\n",
            Self::NotModified => "HTTP/1.1 304 Not Modified\r\n",
            Self::BadRequest => "HTTP/1.1 400 Bad Request\r\n",
            Self::Unauthorized => "HTTP/1.1 401 Unauthorized\r\n",
            Self::Forbidden => "HTTP/1.1 403 Forbidden\r\n",
            Self::NotFound => "HTTP/1.1 404 Not Found\r\n",
            Self::MethodNotAllowed => "HTTP/1.1 405 Method Not Allowed\r\n",
            Self::RequestTimeout => "HTTP/1.1 408 Request Timeout\r\n",
            Self::PreconditionFailed => "HTTP/1.1 412 Precondition Failed\r\n",
            Self::ContentTooLarge => "HTTP/1.1 413 Content Too Large\r\n",
            Self::UriTooLong => "HTTP/1.1 414 URI Too Long\r\n",
            Self::RangeNotSatisfiable => "HTTP/1.1 416 Range Not Satisfiable\r\n",
            Self::ExpectationFailed => "HTTP/1.1 417 Expectation Failed\r\n",
            Self::MisdirectedRequest => "HTTP/1.1 421 Misdirected Request\r\n",
            Self::RequestHeaderFieldsTooLarge => "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            Self::InternalServerError => "HTTP/1.1 500 Internal Server Error\r\n",
            Self::NotImplemented => "HTTP/1.1 501 Not Implemented\r\n",
            Self::BadGateway => "HTTP/1.1 502 Bad Gateway\r\n",
            Self::ServiceUnavailable => "HTTP/1.1 503 Service Unavailable\r\n",
            Self::GatewayTimeout => "HTTP/1.1 504 Gateway Timeout\r\n",
            Self::HttpVersionNotSupported => "HTTP/1.1 505 HTTP Version Not Supported\r\n",
        }
    }

    /// `404 Not Found`: code and phrase, the body of an error response.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        let line = self.line();
        &line["HTTP/1.1 ".len()..line.len() - "\r\n".len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_and_code_agree() {
        for status in [Status::Ok, Status::NotFound, Status::HttpVersionNotSupported] {
            assert!(status.phrase().starts_with(&format!("{} ", status.code())));
            assert_eq!(status.class(), usize::from(status.code() / 100));
        }
        assert_eq!(Status::UriTooLong.phrase(), "414 URI Too Long");
    }
}
