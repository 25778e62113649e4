//! Kafka's wire, as far as the broker of this harness speaks it: the versions without compact types.

/// Reads a request from its first byte on. `None`: it is cut short.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A text; null is empty.
    pub(crate) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        let bytes = self.bytes(length)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A list; null is empty.
    pub(crate) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(self.i32()?).unwrap_or(0);
        (0..count).map(|_| one(self)).collect()
    }

    /// A number of a record: zigzag, in groups of seven bits.
    pub(crate) fn varint(&mut self) -> Option<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        None
    }
}

/// Writes a request or a response.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn i8(&mut self, value: i8) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn i16(&mut self, value: i16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.i16(i16::try_from(value.len()).unwrap_or(i16::MAX));
        self.0.extend(value.as_bytes());
        self
    }

    /// A number of a record: zigzag, in groups of seven bits.
    pub(crate) fn varint(&mut self, value: i64) -> &mut Self {
        let mut number = ((value << 1) ^ (value >> 63)) as u64;
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        self
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.i16(-1)
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut one: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.i32(i32::try_from(items.len()).unwrap_or(i32::MAX));
        for item in items {
            one(self, item);
        }
        self
    }
}

/// A batch of format 2 that holds one message without a key, as no producer in particular sends it.
pub(crate) fn batch_of_one(value: &[u8]) -> Vec<u8> {
    let mut record = Writer::default();
    // Attributes, time and offset behind the batch's, no key.
    record.i8(0).varint(0).varint(0).varint(-1);
    record.varint(value.len() as i64).0.extend(value);
    record.varint(0);
    let mut checked = Writer::default();
    // Attributes, last offset, first and last time.
    checked.i16(0).i32(0).i64(0).i64(0);
    // Producer, epoch, sequence; one record.
    checked.i64(-1).i16(-1).i32(-1).i32(1);
    checked.varint(record.0.len() as i64).0.extend(record.0);
    let mut batch = Writer::default();
    // Leader's epoch, format and checksum count in the length.
    let length = 4 + 1 + 4 + checked.0.len();
    batch.i64(0).i32(i32::try_from(length).unwrap_or(i32::MAX));
    batch.i32(-1).i8(2);
    batch.0.extend(crc32c::crc32c(&checked.0).to_be_bytes());
    batch.0.extend(checked.0);
    batch.0
}

/// What a batch of records says of itself, and its values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) values: Vec<Vec<u8>>,
}

/// Reads an uncompressed batch of format 2.
pub(crate) fn batch(bytes: &[u8]) -> Option<Batch> {
    let mut reader = Reader(bytes);
    // Base offset, length, leader's epoch, format, checksum.
    reader.bytes(8 + 4 + 4)?;
    let format = reader.i8()?;
    reader.bytes(4)?;
    let attributes = reader.i16()?;
    if format != 2 || attributes & 7 != 0 {
        return None;
    }
    // Last offset, first and last time.
    reader.bytes(4 + 8 + 8)?;
    let (producer, epoch, sequence) = (reader.i64()?, reader.i16()?, reader.i32()?);
    let values = reader.list(value)?;
    Some(Batch {
        producer,
        epoch,
        sequence,
        values,
    })
}

fn value(reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    let length = usize::try_from(reader.varint()?).ok()?;
    let mut record = Reader(reader.bytes(length)?);
    record.i8()?;
    record.varint()?;
    record.varint()?;
    if let Ok(key) = usize::try_from(record.varint()?) {
        record.bytes(key)?;
    }
    let value = usize::try_from(record.varint()?).unwrap_or(0);
    record.bytes(value).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_records_are_zigzag() {
        for (bytes, number) in [
            (&[0][..], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0x80, 1], 64),
            (&[0xff, 1], -128),
        ] {
            assert_eq!(Reader(bytes).varint(), Some(number));
            assert_eq!(Writer::default().varint(number).0, bytes);
        }
        assert_eq!(Reader(&[0x80]).varint(), None);
    }

    #[test]
    fn a_batch_of_one_message_is_read_as_it_was_written() {
        let bytes = batch_of_one(b"{\"n\":7}");
        let expected = Batch {
            producer: -1,
            epoch: -1,
            sequence: -1,
            values: vec![b"{\"n\":7}".to_vec()],
        };
        assert_eq!(batch(&bytes), Some(expected));
        let mut head = Reader(&bytes[8..]);
        assert_eq!(head.i32(), Some(bytes.len() as i32 - 12));
    }

    #[test]
    fn lists_and_texts_come_back() {
        let mut writer = Writer::default();
        writer.list(&["a", "bc"], |w, text| {
            w.text(text);
        });
        writer.null().i64(-7);
        let mut reader = Reader(&writer.0);
        let texts = reader.list(Reader::text);
        assert_eq!(texts, Some(vec!["a".to_owned(), "bc".to_owned()]));
        assert_eq!(reader.text(), Some(String::new()));
        assert_eq!(reader.i64(), Some(-7));
        assert_eq!(reader.i8(), None);
    }
}
