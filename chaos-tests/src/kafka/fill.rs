//! Makes and fills a topic of tansu's: every message a batch of its own, thousands of them to a request.
//!
//! Of its own, because tansu, asked for an offset within a batch, skips to the next one, and a source
//! that is restored asks for any offset. Thousands to a request, because a client's library sends one
//! batch of a partition with each, and then a million messages take longer than all the rest of a test.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::wire::{Reader, Writer, batch_of_one};

/// For the answer to one request.
const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGES_PER_REQUEST: usize = 1_000;
/// An answer names one partition.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const PRODUCE: i16 = 0;
const VERSION: i16 = 3;
const CREATE_TOPICS: i16 = 19;
const CREATE_VERSION: i16 = 2;
const ONE_REPLICA: i16 = 1;
const ALL_REPLICAS: i16 = -1;

/// Writes values, each to its partition and in order there, and waits until all are taken.
///
/// # Panics
/// If one isn't taken.
pub fn produce(broker: &str, topic: &str, values: impl Iterator<Item = (i32, String)>) {
    let mut by_partition: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for (partition, value) in values {
        by_partition.entry(partition).or_default().push(value);
    }
    std::thread::scope(|scope| {
        for (&partition, values) in &by_partition {
            scope.spawn(move || {
                let written = produce_to(broker, (topic, partition), values);
                written.unwrap_or_else(|error| panic!("{topic} partition {partition}: {error}"));
            });
        }
    });
}

/// Makes a topic by asking this very broker, wherever it tells its clients to go.
///
/// # Panics
/// If it can't be made.
pub fn create_topic_directly(broker: &str, topic: &str, partitions: i32) {
    let made = connected(broker).and_then(|mut stream| {
        ask(&mut stream, &creation(topic, partitions))
            .and_then(|answer| accepted(creation_refusal(&answer)))
    });
    made.unwrap_or_else(|error| panic!("topic {topic} of {broker}: {error}"));
}

fn connected(broker: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(broker)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let length = i32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(request)?;
    answer(stream)
}

fn accepted(code: Option<i16>) -> io::Result<()> {
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::other(format!("refused with code {code}"))),
        None => Err(io::Error::other("the answer is cut short")),
    }
}

fn produce_to(broker: &str, place: (&str, i32), values: &[String]) -> io::Result<()> {
    let mut stream = connected(broker)?;
    for values in values.chunks(MESSAGES_PER_REQUEST) {
        let answer = ask(&mut stream, &request(place, values))?;
        accepted(refusal(&answer))?;
    }
    Ok(())
}

fn creation(topic: &str, partitions: i32) -> Vec<u8> {
    let timeout_ms = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
    let mut request = Writer::default();
    request.i16(CREATE_TOPICS).i16(CREATE_VERSION);
    request.i32(0).text("harness");
    request.list(&[topic], |w, topic| {
        // Neither placed by hand nor configured.
        w.text(topic).i32(partitions).i16(ONE_REPLICA);
        w.i32(0).i32(0);
    });
    // In earnest, not only checked.
    request.i32(timeout_ms).i8(0);
    request.0
}

/// As [`refusal`], of a topic that was to be made.
fn creation_refusal(answer: &[u8]) -> Option<i16> {
    let mut reader = Reader(answer);
    reader.bytes(4 + 4)?;
    let topics = reader.list(|r| {
        r.text()?;
        let code = r.i16()?;
        r.text()?;
        Some(code)
    })?;
    topics.first().copied()
}

fn request((topic, partition): (&str, i32), values: &[String]) -> Vec<u8> {
    let records: Vec<u8> = values
        .iter()
        .flat_map(|value| batch_of_one(value.as_bytes()))
        .collect();
    let timeout_ms = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
    let mut request = Writer::default();
    request.i16(PRODUCE).i16(VERSION).i32(0).text("harness");
    request.null().i16(ALL_REPLICAS).i32(timeout_ms);
    request.list(&[topic], |w, topic| {
        w.text(topic).list(&[partition], |w, partition| {
            w.i32(*partition);
            w.list(&records, |w, byte| w.0.push(*byte));
        });
    });
    request.0
}

fn answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The code with which the partition was refused; 0: it wasn't. `None`: the answer is cut short.
fn refusal(answer: &[u8]) -> Option<i16> {
    let mut reader = Reader(answer);
    reader.i32()?;
    let topics = reader.list(|r| {
        r.text()?;
        r.list(|r| {
            r.i32()?;
            let code = r.i16()?;
            r.bytes(8 + 8)?;
            Some(code)
        })
    })?;
    topics.first()?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::super::broker::Broker;
    use super::*;

    #[test]
    fn an_answer_tells_whether_the_messages_were_taken() {
        for code in [0, 3] {
            let mut answer = Writer::default();
            answer.i32(7).list(&["t"], |w, topic| {
                w.text(topic).list(&[code], |w, code| {
                    w.i32(1).i16(*code).i64(0).i64(-1);
                });
            });
            assert_eq!(refusal(&answer.0), Some(code));
            assert_eq!(refusal(&answer.0[..answer.0.len() - 1]), None);
        }
    }

    #[test]
    fn an_answer_tells_whether_the_topic_was_made() {
        for code in [0, 36] {
            let mut answer = Writer::default();
            answer.i32(7).i32(0).list(&["t"], |w, topic| {
                w.text(topic).i16(code).null();
            });
            assert_eq!(creation_refusal(&answer.0), Some(code));
            assert_eq!(creation_refusal(&answer.0[..answer.0.len() - 1]), None);
        }
    }

    #[test]
    fn a_broker_that_does_not_take_them_is_told() {
        let broker = Broker::start();
        let refused = produce_to(&broker.address, ("missing", 0), &["x".to_owned()]);
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with("refused with code"), "{error}");
    }
}
