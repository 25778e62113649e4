//! CSV records by RFC 4180: where a record and its fields lie in a window of bytes. Quoted fields
//! may hold commas, line ends and doubled quotes; lines end in LF or CRLF; empty lines are skipped.
//! A quote inside an unquoted field is an ordinary character.

use std::borrow::Cow;
use std::ops::Range;

/// Where a field's content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::sources) struct Field {
    range: Range<usize>,
    /// Holds doubled quotes.
    escaped: bool,
}

impl Field {
    /// The field's content.
    pub(in crate::engine::sources) fn content<'a>(&self, window: &'a [u8]) -> Cow<'a, [u8]> {
        let raw = &window[self.range.clone()];
        if !self.escaped {
            return Cow::Borrowed(raw);
        }
        let mut content = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(at) = rest.iter().position(|b| *b == b'"') {
            content.extend_from_slice(&rest[..=at]);
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        content.extend_from_slice(rest);
        Cow::Owned(content)
    }
}

/// What the front of a window is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::sources) enum Scan {
    /// A record; its fields are in the list given.
    Record {
        /// Bytes up to the next record.
        bytes: usize,
        /// Lines up to the next record.
        lines: u64,
        /// Why it can't be used.
        malformed: Option<&'static str>,
    },
    /// An empty line.
    Blank {
        /// Its bytes.
        bytes: usize,
    },
    /// The record goes on behind the window.
    More,
    /// Nothing is left.
    End,
}

/// Scans the first record. `last` tells that nothing follows the window.
pub(in crate::engine::sources) fn scan(window: &[u8], last: bool, fields: &mut Vec<Field>) -> Scan {
    fields.clear();
    if let Some(blank) = blank(window, last) {
        return blank;
    }
    let mut scanner = Scanner {
        window,
        at: 0,
        lines: 0,
        malformed: None,
    };
    loop {
        let Some(field) = scanner.field() else {
            return scanner.unfinished(last, fields);
        };
        fields.push(field);
        match scanner.separator(last) {
            Separator::Comma => {}
            Separator::Line => {
                return Scan::Record {
                    bytes: scanner.at,
                    lines: scanner.lines,
                    malformed: scanner.malformed,
                };
            }
            Separator::More => return Scan::More,
        }
    }
}

fn blank(window: &[u8], last: bool) -> Option<Scan> {
    match window {
        [] if last => Some(Scan::End),
        [] => Some(Scan::More),
        [b'\n', ..] => Some(Scan::Blank { bytes: 1 }),
        [b'\r', b'\n', ..] => Some(Scan::Blank { bytes: 2 }),
        [b'\r'] if !last => Some(Scan::More),
        _ => None,
    }
}

enum Separator {
    Comma,
    Line,
    More,
}

struct Scanner<'a> {
    window: &'a [u8],
    at: usize,
    lines: u64,
    malformed: Option<&'static str>,
}

impl Scanner<'_> {
    /// The field at the present place; `None` when a quoted one goes on behind the window.
    fn field(&mut self) -> Option<Field> {
        if self.window.get(self.at) == Some(&b'"') {
            return self.quoted();
        }
        let begin = self.at;
        self.skip_plain();
        Some(Field {
            range: begin..self.end_of_plain(),
            escaped: false,
        })
    }

    fn skip_plain(&mut self) {
        let rest = &self.window[self.at..];
        let length = rest.iter().position(|b| matches!(b, b',' | b'\n'));
        self.at += length.unwrap_or(rest.len());
    }

    /// The end of the unquoted field before the present place, without the CR of a CRLF.
    fn end_of_plain(&self) -> usize {
        let line_end = self.window.get(self.at) == Some(&b'\n');
        match self.at.checked_sub(1) {
            Some(before) if line_end && self.window[before] == b'\r' => before,
            _ => self.at,
        }
    }

    fn quoted(&mut self) -> Option<Field> {
        let begin = self.at + 1;
        let mut at = begin;
        let mut escaped = false;
        loop {
            let rest = &self.window[at..];
            let step = rest.iter().position(|b| matches!(b, b'"' | b'\n'))?;
            at += step;
            if self.window[at] == b'\n' {
                self.lines += 1;
                at += 1;
            } else if self.window.get(at + 1) == Some(&b'"') {
                escaped = true;
                at += 2;
            } else {
                break;
            }
        }
        self.at = at + 1;
        Some(Field {
            range: begin..at,
            escaped,
        })
    }

    /// What follows the field that was just read.
    fn separator(&mut self, last: bool) -> Separator {
        let rest = &self.window[self.at..];
        match rest {
            [b',', ..] => {
                self.at += 1;
                Separator::Comma
            }
            [b'\n', ..] => self.line_end(1),
            [b'\r', b'\n', ..] => self.line_end(2),
            [] if last => Separator::Line,
            [] | [b'\r'] if !last => Separator::More,
            _ => {
                self.malformed = Some("characters follow a closing quote");
                self.skip_plain();
                self.separator(last)
            }
        }
    }

    fn line_end(&mut self, bytes: usize) -> Separator {
        self.at += bytes;
        self.lines += 1;
        Separator::Line
    }

    fn unfinished(&self, last: bool, fields: &mut Vec<Field>) -> Scan {
        if !last {
            return Scan::More;
        }
        fields.clear();
        Scan::Record {
            bytes: self.window.len(),
            lines: self.lines + 1,
            malformed: Some("a quoted field is never closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(text: &[u8]) -> Vec<(u64, Vec<String>, Option<&'static str>)> {
        let (mut at, mut line, mut fields) = (0, 1, Vec::new());
        let mut records = Vec::new();
        loop {
            let window = &text[at..];
            match scan(window, true, &mut fields) {
                Scan::Record {
                    bytes,
                    lines,
                    malformed,
                } => {
                    let text = |f: &Field| String::from_utf8(f.content(window).into()).unwrap();
                    records.push((line, fields.iter().map(text).collect(), malformed));
                    at += bytes;
                    line += lines;
                }
                Scan::Blank { bytes } => {
                    at += bytes;
                    line += 1;
                }
                Scan::End => return records,
                Scan::More => panic!("more of a whole text"),
            }
        }
    }

    #[test]
    fn table() {
        type Case<'a> = (&'a str, &'a [(u64, &'a [&'a str])]);
        let cases: &[Case<'_>] = &[
            ("", &[]),
            ("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]),
            ("a,b\r\n1,2\r\n", &[(1, &["a", "b"]), (2, &["1", "2"])]),
            ("no,newline", &[(1, &["no", "newline"])]),
            ("a,\n,\n", &[(1, &["a", ""]), (2, &["", ""])]),
            ("\n\r\na\n", &[(3, &["a"])]),
            ("\"a,b\",c\n", &[(1, &["a,b", "c"])]),
            ("\"x\"\"y\",\"\"\n", &[(1, &["x\"y", ""])]),
            ("\"\"\"\"\n", &[(1, &["\""])]),
            (
                "\"l1\nl2\r\nl3\",z\nb\n",
                &[(1, &["l1\nl2\r\nl3", "z"]), (4, &["b"])],
            ),
            ("a\"b\",c\n", &[(1, &["a\"b\"", "c"])]),
            ("a\rb,c\n", &[(1, &["a\rb", "c"])]),
            ("\"a\"\r\n\"b\"", &[(1, &["a"]), (2, &["b"])]),
        ];
        for (text, expected) in cases {
            let got = records(text.as_bytes());
            assert!(got.iter().all(|(_, _, malformed)| malformed.is_none()));
            let got: Vec<_> = got.into_iter().map(|(line, f, _)| (line, f)).collect();
            let expected: Vec<(u64, Vec<String>)> = expected
                .iter()
                .map(|(line, f)| (*line, f.iter().map(|s| (*s).to_owned()).collect()))
                .collect();
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn malformed_records_end_where_their_line_does() {
        let got = records(b"\"a\"x,b\nok,1\n\"open,2\n3\n");
        assert_eq!(got[0].2, Some("characters follow a closing quote"));
        assert_eq!((got[1].0, got[1].1.len(), got[1].2), (2, 2, None));
        assert_eq!(got[2].2, Some("a quoted field is never closed"));
        assert_eq!(got.len(), 3);
    }

    proptest! {
        /// Whatever the window ends in, nothing is decided before the record is whole.
        #[test]
        fn a_cut_window_asks_for_more(text in "[a\",\r\n]{0,30}") {
            let bytes = text.as_bytes();
            let mut fields = Vec::new();
            let whole = scan(bytes, true, &mut fields);
            let of_whole = fields.clone();
            for cut in 0..bytes.len() {
                match scan(&bytes[..cut], false, &mut fields) {
                    Scan::More => {}
                    Scan::End => prop_assert!(false, "the end of a cut text"),
                    decided => {
                        prop_assert_eq!(&decided, &whole);
                        prop_assert_eq!(&fields, &of_whole);
                    }
                }
            }
        }

        /// What a writer by the same RFC writes is read back.
        #[test]
        fn agrees_with_the_csv_crate(
            rows in proptest::collection::vec(
                proptest::collection::vec("[a-c\",\n\r ]{0,5}", 3), 0..8),
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let got: Vec<Vec<String>> = records(&text).into_iter().map(|(_, f, _)| f).collect();
            prop_assert_eq!(got, rows);
        }
    }
}
