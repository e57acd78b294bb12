//! Bodies: where they end, and which of their bytes are data (RFC 9112 sections 6 and 7.1).
//!
//! Input: the bytes after a head.   Output: how many belong to the body, and whether it is over;
//! for an origin's answer (`http::origin`) also where the data lies among them.
//! Owns: a position, bounded by the configured body size.   Thread: any, pure.
//! Not here: deciding whether a body may come at all (`http::Conn`).
//! Differs from the source: line ends are CRLF only; chunk extensions and trailers are read over,
//! `LINE_BYTES_MAX` at most per line and `TRAILERS_MAX` lines.

use super::Status;

/// Longest chunk-size or trailer line.
const LINE_BYTES_MAX: u32 = 1024;
/// Most trailer lines.
const TRAILERS_MAX: u32 = 32;

/// Progress through one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// That many bytes are still to come.
    Length(u64),
    /// In the middle of a chunked body.
    Chunked(Chunked),
}

/// Progress through a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked {
    at: At,
    /// Size of the chunk whose line is being read.
    size: u64,
    line_bytes: u32,
    trailers: u32,
    /// How many bytes of data may still come.
    budget: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    SizeStart,
    Size,
    Extension,
    SizeLf,
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// One step through a body: what was read, and the one stretch of data that it ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many bytes of the input were read.
    pub taken: usize,
    /// Which of them are data; an empty range for none.
    pub data: std::ops::Range<usize>,
    /// Whether the body is over.
    pub over: bool,
}

impl Body {
    /// A chunked body of at most `bytes_max` bytes of data.
    #[must_use]
    pub const fn chunked(bytes_max: u64) -> Self {
        let at = At::SizeStart;
        Self::Chunked(Chunked { at, size: 0, line_bytes: 0, trailers: 0, budget: bytes_max })
    }

    /// Reads on. Returns how many bytes of `input` belong to the body and whether it is over.
    ///
    /// # Errors
    /// 400: bad chunking. 413: more data than allowed. 431: too many trailers.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<(usize, bool), Status> {
        let mut taken = 0;
        loop {
            let run = self.next_run(&input[taken..])?;
            taken += run.taken;
            if run.over || taken == input.len() {
                return Ok((taken, run.over));
            }
        }
    }

    /// Reads on up to the end of one stretch of data, of the input, or of the body.
    ///
    /// # Errors
    /// 400: bad chunking. 413: more data than allowed. 431: too many trailers.
    pub fn next_run(&mut self, input: &[u8]) -> Result<Run, Status> {
        match self {
            Self::Length(left) => {
                let taken = crate::stdx::num::index((*left).min(input.len() as u64));
                *left -= taken as u64;
                Ok(Run { taken, data: 0..taken, over: *left == 0 })
            }
            Self::Chunked(chunked) => chunked.next_run(input),
        }
    }
}

impl Chunked {
    fn next_run(&mut self, input: &[u8]) -> Result<Run, Status> {
        let mut taken = 0;
        while self.at != At::End {
            if let At::Data(left) = self.at {
                let step = left.min((input.len() - taken) as u64);
                self.at = if step == left { At::DataCr } else { At::Data(left - step) };
                let data = taken..taken + crate::stdx::num::index(step);
                return Ok(Run { taken: data.end, data, over: false });
            }
            let Some(byte) = input.get(taken) else { break };
            taken += 1;
            self.at = self.step(*byte)?;
        }
        Ok(Run { taken, data: taken..taken, over: self.at == At::End })
    }

    fn step(&mut self, byte: u8) -> Result<At, Status> {
        self.line_bytes += 1;
        if self.line_bytes > LINE_BYTES_MAX {
            return Err(Status::BadRequest);
        }
        match (self.at, byte) {
            (At::SizeStart, _) => {
                self.line_bytes = 1;
                self.size = hex_digit(byte).ok_or(Status::BadRequest)?;
                Ok(At::Size)
            }
            (At::Size, b'\r') | (At::Extension, b'\r') => Ok(At::SizeLf),
            (At::Size, b';') => Ok(At::Extension),
            (At::Size, _) => {
                let digit = hex_digit(byte).ok_or(Status::BadRequest)?;
                // 16 digits and more overflow; such a chunk is beyond any limit.
                self.size = self.size.checked_mul(16).ok_or(Status::ContentTooLarge)? + digit;
                Ok(At::Size)
            }
            (At::Extension, _) if byte != b'\n' && byte != 0 => Ok(At::Extension),
            (At::SizeLf, b'\n') if self.size == 0 => Ok(At::TrailerStart),
            (At::SizeLf, b'\n') => {
                self.budget = self.budget.checked_sub(self.size).ok_or(Status::ContentTooLarge)?;
                Ok(At::Data(self.size))
            }
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => Ok(At::SizeStart),
            (At::TrailerStart, b'\r') => Ok(At::EndLf),
            (At::EndLf, b'\n') => Ok(At::End),
            (At::TrailerStart, _) if is_field_byte(byte) && byte != b' ' && byte != b'\t' => {
                self.line_bytes = 1;
                self.trailers += 1;
                if self.trailers > TRAILERS_MAX {
                    return Err(Status::RequestHeaderFieldsTooLarge);
                }
                Ok(At::Trailer)
            }
            (At::Trailer, b'\r') => Ok(At::TrailerLf),
            (At::Trailer, _) if is_field_byte(byte) => Ok(At::Trailer),
            (At::TrailerLf, b'\n') => Ok(At::TrailerStart),
            _ => Err(Status::BadRequest),
        }
    }
}

fn hex_digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

const fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` in pieces of `step` bytes: bytes left over when the body is over, or the error.
    fn read(text: &[u8], step: usize, bytes_max: u64) -> Result<Option<usize>, u16> {
        let mut body = Body::chunked(bytes_max);
        let mut at = 0;
        while at < text.len() {
            let end = (at + step).min(text.len());
            let (taken, over) = body.handle_input(&text[at..end]).map_err(Status::code)?;
            at += taken;
            if over {
                return Ok(Some(text.len() - at));
            }
            assert_eq!(at, end, "an unfinished body takes all there is");
        }
        Ok(None)
    }

    #[test]
    fn table_of_chunked_bodies() {
        let table: &[(&str, Result<Option<usize>, u16>)] = &[
            ("0\r\n\r\n", Ok(Some(0))),
            ("3\r\nabc\r\n0\r\n\r\nGET", Ok(Some(3))),
            ("a;x=\"y\"\r\n0123456789\r\n00\r\nA: b\r\nC:\r\n\r\n", Ok(Some(0))),
            ("3\r\nabc\r\n", Ok(None)),
            ("3\r\nabcd\r\n0\r\n\r\n", Err(400)),
            ("3\nabc\n0\n\n", Err(400)),
            ("3\r\nabc\n0\r\n\r\n", Err(400)),
            ("\r\n", Err(400)),
            ("x\r\n", Err(400)),
            ("-1\r\n", Err(400)),
            ("0x1\r\n", Err(400)),
            (" 1\r\n", Err(400)),
            ("1 \r\n", Err(400)),
            ("0\r\n folded\r\n\r\n", Err(400)),
            ("0\r\nA: \0\r\n\r\n", Err(400)),
            ("0\r\n\n", Err(400)),
            ("1;\n\r\n", Err(400)),
            ("65\r\n", Err(413)),
            ("ffffffffffffffff\r\n", Err(413)),
            ("fffffffffffffffff\r\n", Err(413)),
        ];
        for (text, expected) in table {
            for step in 1..=text.len() {
                assert_eq!(&read(text.as_bytes(), step, 100), expected, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn lines_are_bounded() {
        let endless = format!("1;{}", "x".repeat(2000));
        assert_eq!(read(endless.as_bytes(), 7, 100), Err(400));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(40));
        assert_eq!(read(trailers.as_bytes(), 7, 100), Err(431));
    }

    #[test]
    fn runs_hand_out_the_data_and_nothing_else() {
        let text = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\nrest";
        for step in 1..=text.len() {
            let (mut body, mut data, mut at) = (Body::chunked(u64::MAX), Vec::new(), 0);
            let over = loop {
                let end = (at + step).min(text.len());
                let run = body.next_run(&text[at..end]).expect("good chunks");
                data.extend_from_slice(&text[at..end][run.data]);
                at += run.taken;
                if run.over {
                    break true;
                }
                if end == text.len() && run.taken == 0 {
                    break false;
                }
            };
            assert!(over, "by {step}");
            assert_eq!((data.as_slice(), &text[at..]), (&b"abcde"[..], &b"rest"[..]), "by {step}");
        }
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut body = Body::Length(5);
        assert_eq!(body.handle_input(b"abc"), Ok((3, false)));
        assert_eq!(body.handle_input(b"defg"), Ok((2, true)));
    }
}
