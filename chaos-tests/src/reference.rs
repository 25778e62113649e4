//! What the output must be: the plainest possible computation over the same files, in one thread,
//! with nothing of the product. Rows are text, as a CSV sink writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A row of text fields.
pub type Row = Vec<String>;

/// The columns that tests look at.
#[derive(Debug, Clone)]
pub struct Flight {
    /// Airline.
    pub carrier: String,
    /// Airport of departure.
    pub origin: String,
    /// 1-12.
    pub month: i64,
    /// Miles.
    pub distance: i64,
    /// Whether the delay at departure is known.
    pub departed: bool,
}

/// All flights of a file, or of the CSV files of a folder.
///
/// # Panics
/// If a file can't be read or isn't what it should be.
#[must_use]
pub fn flights(input: &Path) -> Vec<Flight> {
    files(input).iter().flat_map(|file| read(file)).collect()
}

fn files(input: &Path) -> Vec<PathBuf> {
    if input.is_file() {
        return vec![input.to_path_buf()];
    }
    let entries = fs::read_dir(input).unwrap_or_else(|e| panic!("{}: {e}", input.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Vec<Flight> {
    let mut reader =
        csv::Reader::from_path(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let header = reader.headers().expect("a header").clone();
    let at = |name: &str| {
        let found = header.iter().position(|column| column == name);
        found.unwrap_or_else(|| panic!("{}: no column {name}", file.display()))
    };
    let (carrier, origin, month) = (at("carrier"), at("origin"), at("month"));
    let (distance, delay) = (at("distance"), at("dep_delay"));
    let flight = |record: csv::StringRecord| Flight {
        carrier: record[carrier].to_owned(),
        origin: record[origin].to_owned(),
        month: record[month].parse().expect("a month"),
        distance: record[distance].parse().expect("a distance"),
        departed: !matches!(&record[delay], "" | "NA"),
    };
    let rows = reader
        .records()
        .map(|record| flight(record.expect("a row")));
    rows.collect()
}

/// `carrier,flights,miles`: one row for each carrier.
#[must_use]
pub fn per_carrier(flights: &[Flight]) -> Vec<Row> {
    let mut groups: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for flight in flights {
        let group = groups.entry(&flight.carrier).or_default();
        group.0 += 1;
        group.1 += flight.distance;
    }
    let row = |(carrier, (count, miles)): (&str, (i64, i64))| {
        vec![carrier.to_owned(), count.to_string(), miles.to_string()]
    };
    groups.into_iter().map(row).collect()
}

/// `origin,month,flights,departed,miles`: one row for each origin and month.
#[must_use]
pub fn per_origin_and_month(flights: &[Flight]) -> Vec<Row> {
    let mut groups: BTreeMap<(&str, i64), (i64, i64, i64)> = BTreeMap::new();
    for flight in flights {
        let group = groups.entry((&flight.origin, flight.month)).or_default();
        group.0 += 1;
        group.1 += i64::from(flight.departed);
        group.2 += flight.distance;
    }
    let row = |((origin, month), (count, departed, miles)): ((&str, i64), (i64, i64, i64))| {
        let numbers = [month, count, departed, miles].map(|number| number.to_string());
        std::iter::once(origin.to_owned()).chain(numbers).collect()
    };
    groups.into_iter().map(row).collect()
}

/// `carrier,nth`: a row for each flight, numbered within its carrier. Whatever the order in which
/// flights are processed, each number must appear exactly once.
#[must_use]
pub fn numbered(flights: &[Flight]) -> Vec<Row> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    let mut rows = Vec::with_capacity(flights.len());
    for flight in flights {
        let count = counts.entry(&flight.carrier).or_default();
        *count += 1;
        rows.push(vec![flight.carrier.clone(), count.to_string()]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(carrier: &str, distance: i64, departed: bool) -> Flight {
        Flight {
            carrier: carrier.to_owned(),
            origin: "JFK".to_owned(),
            month: 1,
            distance,
            departed,
        }
    }

    fn row(fields: &[&str]) -> Row {
        fields.iter().map(|field| (*field).to_owned()).collect()
    }

    #[test]
    fn groups_are_counted_and_summed() {
        let flights = [
            flight("UA", 10, true),
            flight("AA", 5, false),
            flight("UA", 7, false),
        ];
        let carriers = [row(&["AA", "1", "5"]), row(&["UA", "2", "17"])];
        assert_eq!(per_carrier(&flights), carriers);
        assert_eq!(
            per_origin_and_month(&flights),
            [row(&["JFK", "1", "3", "1", "22"])]
        );
        let wanted = [row(&["UA", "1"]), row(&["AA", "1"]), row(&["UA", "2"])];
        assert_eq!(numbered(&flights), wanted);
    }

    #[test]
    fn januarys_flights_are_read_whole() {
        let flights = flights(&crate::knobs::january());
        assert_eq!(flights.len(), 27_004);
        assert!(flights.iter().all(|flight| flight.month == 1));
    }
}
