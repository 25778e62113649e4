//! A broker on loopback that keeps transactions, as threads of the test. It speaks just what a
//! transactional producer needs, and can lose its answers.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ledger::{Ledger, NONE, Partition, UNKNOWN_TOPIC_OR_PARTITION};
use super::wire::{Reader, Writer, batch};

/// A connection without requests for so long is closed.
const PATIENCE: Duration = Duration::from_secs(120);
/// No request of a test is longer.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS_TO_TXN: i16 = 24;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const END_TXN: i16 = 26;
const TXN_OFFSET_COMMIT: i16 = 28;

/// What is spoken, and in which version. Fetch is only named: clients write the record format of 0.11
/// only to brokers that have it.
const SPOKEN: [(i16, i16); 11] = [
    (PRODUCE, 3),
    (1, 4),
    (METADATA, 4),
    (OFFSET_FETCH, 1),
    (FIND_COORDINATOR, 1),
    (API_VERSIONS, 0),
    (INIT_PRODUCER_ID, 1),
    (ADD_PARTITIONS_TO_TXN, 0),
    (ADD_OFFSETS_TO_TXN, 0),
    (END_TXN, 0),
    (TXN_OFFSET_COMMIT, 0),
];
const UNSUPPORTED_VERSION: i16 = 35;

#[derive(Debug, Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    port: i32,
    /// Every so many ends of transactions are done and not answered; 0: none.
    lose_every: AtomicUsize,
    ends: AtomicUsize,
    lost: AtomicUsize,
    stop: AtomicBool,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broker; it ends with its owner.
#[derive(Debug)]
pub struct Broker {
    /// `127.0.0.1:port`.
    pub address: String,
    shared: Arc<Shared>,
}

/// Transactions so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Ended with a commit.
    pub committed: usize,
    /// Ended without.
    pub aborted: usize,
    /// Requests of producers that had a successor.
    pub fenced: usize,
    /// Ends that were done and not answered.
    pub answers_lost: usize,
}

impl Broker {
    /// Starts one.
    ///
    /// # Panics
    /// If no port can be listened on.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            port: i32::from(address.port()),
            ..Shared::default()
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A client that goes away is no concern of anybody's.
                std::thread::spawn(move || serve(client, &shared).ok());
            }
        });
        Self {
            address: address.to_string(),
            shared,
        }
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.shared.ledger().create(topic, partitions);
    }

    /// From now on every so many ends of transactions are done and not answered; 0: all are answered.
    pub fn lose_answers(&self, every: usize) {
        self.shared.lose_every.store(every, Ordering::SeqCst);
    }

    /// Values that readers of committed messages see.
    #[must_use]
    pub fn committed(&self, topic: &str) -> Vec<String> {
        let values = self.shared.ledger().values(topic);
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        values.into_iter().map(text).collect()
    }

    /// Transactions so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (committed, aborted, fenced) = self.shared.ledger().counts();
        Counts {
            committed,
            aborted,
            fenced,
            answers_lost: self.shared.lost.load(Ordering::SeqCst),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        TcpStream::connect(&self.address).ok();
    }
}

fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_nodelay(true)?;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    while !shared.stop.load(Ordering::SeqCst) {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| malformed())?;
        if length > REQUEST_BYTES_MAX {
            return Err(malformed());
        }
        let mut request = vec![0; length];
        client.read_exact(&mut request)?;
        let mut reader = Reader(&request);
        let (kind, version) = (reader.i16().ok_or_else(malformed)?, reader.i16());
        let correlation = reader.i32().ok_or_else(malformed)?;
        reader.text().ok_or_else(malformed)?;
        let mut answer = Writer::default();
        answer.i32(correlation);
        if kind == API_VERSIONS {
            versions(version, &mut answer);
        } else {
            respond(kind, &mut reader, shared, &mut answer).ok_or_else(malformed)?;
        }
        if kind == END_TXN && loses(shared) {
            return Ok(());
        }
        let length = i32::try_from(answer.0.len()).map_err(|_| malformed())?;
        client.write_all(&length.to_be_bytes())?;
        client.write_all(&answer.0)?;
    }
    Ok(())
}

fn loses(shared: &Shared) -> bool {
    let every = shared.lose_every.load(Ordering::SeqCst);
    let number = shared.ends.fetch_add(1, Ordering::SeqCst) + 1;
    let lost = every > 0 && number.is_multiple_of(every);
    shared.lost.fetch_add(usize::from(lost), Ordering::SeqCst);
    lost
}

fn versions(asked: Option<i16>, answer: &mut Writer) {
    let understood = asked == Some(0);
    answer.i16(if understood {
        NONE
    } else {
        UNSUPPORTED_VERSION
    });
    answer.list(&SPOKEN, |w, (kind, version)| {
        w.i16(*kind).i16(*version).i16(*version);
    });
}

/// `None`: the request isn't understood.
fn respond(
    kind: i16,
    request: &mut Reader<'_>,
    shared: &Shared,
    answer: &mut Writer,
) -> Option<()> {
    let mut ledger = shared.ledger();
    match kind {
        PRODUCE => produce(request, &mut ledger, answer),
        METADATA => metadata(request, shared.port, &ledger, answer),
        FIND_COORDINATOR => {
            answer
                .i32(0)
                .i16(NONE)
                .null()
                .i32(1)
                .text("127.0.0.1")
                .i32(shared.port);
            Some(())
        }
        OFFSET_FETCH => offset_fetch(request, &ledger, answer),
        INIT_PRODUCER_ID => {
            let (number, epoch) = ledger.init(&request.text()?);
            answer.i32(0).i16(NONE).i64(number).i16(epoch);
            Some(())
        }
        ADD_PARTITIONS_TO_TXN => add_partitions(request, &mut ledger, answer),
        ADD_OFFSETS_TO_TXN => {
            let (id, producer) = (request.text()?, (request.i64()?, request.i16()?));
            answer.i32(0).i16(ledger.add_group(&id, producer));
            Some(())
        }
        TXN_OFFSET_COMMIT => offset_commit(request, &mut ledger, answer),
        END_TXN => {
            let (id, producer) = (request.text()?, (request.i64()?, request.i16()?));
            let commit = request.i8()? != 0;
            answer.i32(0).i16(ledger.end(&id, producer, commit));
            Some(())
        }
        _ => None,
    }
}

fn metadata(
    request: &mut Reader<'_>,
    port: i32,
    ledger: &Ledger,
    answer: &mut Writer,
) -> Option<()> {
    let all = request.0.starts_with(&[0xff; 4]);
    let asked = request.list(Reader::text)?;
    let topics = if all { ledger.topics() } else { asked };
    answer
        .i32(0)
        .i32(1)
        .i32(1)
        .text("127.0.0.1")
        .i32(port)
        .null();
    answer.text("harness").i32(1);
    answer.list(&topics, |w, topic| {
        let count = ledger.partitions(topic);
        let code = if count.is_some() {
            NONE
        } else {
            UNKNOWN_TOPIC_OR_PARTITION
        };
        w.i16(code).text(topic).i8(0);
        let numbers: Vec<i32> = (0..count.unwrap_or(0)).collect();
        w.list(&numbers, |w, number| {
            w.i16(NONE).i32(*number).i32(1);
            for _ in ["replicas", "in sync"] {
                w.list(&[1], |w, node| {
                    w.i32(*node);
                });
            }
        });
    });
    Some(())
}

/// What is answered for each partition of each topic.
type ByTopic<T> = Vec<(String, Vec<(i32, T)>)>;

/// Topics with their partitions, as several requests have them.
fn by_topic<'a, T>(
    request: &mut Reader<'a>,
    mut one: impl FnMut(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<(String, Vec<T>)>> {
    request.list(|r| Some((r.text()?, r.list(&mut one)?)))
}

fn produce(request: &mut Reader<'_>, ledger: &mut Ledger, answer: &mut Writer) -> Option<()> {
    let id = request.text()?;
    let (_acks, _timeout) = (request.i16()?, request.i32()?);
    let topics = by_topic(request, |r| {
        let (number, length) = (r.i32()?, r.i32()?);
        let records = r.bytes(usize::try_from(length).ok()?)?;
        Some((number, batch(records)?))
    })?;
    let mut done: ByTopic<Result<i64, i16>> = Vec::new();
    for (topic, batches) in topics {
        let partition = |number: i32| -> Partition { (topic.clone(), number) };
        let stored = batches
            .into_iter()
            .map(|(number, batch)| (number, ledger.produce(&id, &partition(number), batch)));
        done.push((topic.clone(), stored.collect()));
    }
    answer.list(&done, |w, (topic, partitions)| {
        w.text(topic).list(partitions, |w, (number, stored)| {
            let code = stored.err().unwrap_or(NONE);
            w.i32(*number).i16(code).i64(stored.unwrap_or(-1)).i64(-1);
        });
    });
    answer.i32(0);
    Some(())
}

fn add_partitions(
    request: &mut Reader<'_>,
    ledger: &mut Ledger,
    answer: &mut Writer,
) -> Option<()> {
    let (id, producer) = (request.text()?, (request.i64()?, request.i16()?));
    let topics = by_topic(request, Reader::i32)?;
    let named = topics
        .iter()
        .flat_map(|(topic, numbers)| numbers.iter().map(move |number| (topic.clone(), *number)));
    let code = ledger.add_partitions(&id, producer, &named.collect::<Vec<_>>());
    answer.i32(0).list(&topics, |w, (topic, numbers)| {
        w.text(topic).list(numbers, |w, number| {
            w.i32(*number).i16(code);
        });
    });
    Some(())
}

fn offset_commit(request: &mut Reader<'_>, ledger: &mut Ledger, answer: &mut Writer) -> Option<()> {
    let (id, group) = (request.text()?, request.text()?);
    let producer = (request.i64()?, request.i16()?);
    let topics = by_topic(request, |r| {
        let found = (r.i32()?, r.i64()?);
        r.text()?;
        Some(found)
    })?;
    let mut done: ByTopic<i16> = Vec::new();
    for (topic, offsets) in topics {
        let codes = offsets.into_iter().map(|(number, offset)| {
            let counted = (group.clone(), (topic.clone(), number), offset);
            (number, ledger.add_offset(&id, producer, counted))
        });
        let codes = codes.collect();
        done.push((topic, codes));
    }
    answer.i32(0).list(&done, |w, (topic, codes)| {
        w.text(topic).list(codes, |w, (number, code)| {
            w.i32(*number).i16(*code);
        });
    });
    Some(())
}

fn offset_fetch(request: &mut Reader<'_>, ledger: &Ledger, answer: &mut Writer) -> Option<()> {
    let group = request.text()?;
    let topics = by_topic(request, Reader::i32)?;
    answer.list(&topics, |w, (topic, numbers)| {
        w.text(topic).list(numbers, |w, number| {
            let offset = ledger.committed(&group, &(topic.clone(), *number));
            w.i32(*number).i64(offset).text("").i16(NONE);
        });
    });
    Some(())
}
