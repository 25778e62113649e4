//! Aligned columns: widths counted in characters, numbers to the right where the head says so.

/// A table with a head.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Said instead of a table without rows.
    nothing: &'static str,
}

#[derive(Debug)]
struct Column {
    width: usize,
    right: bool,
}

impl Table {
    /// An empty table and what to say if it stays empty. A name that begins with `>` stands right.
    pub(crate) fn new(head: &[&'static str], nothing: &'static str) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
            nothing,
        }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.head.len(), String::new());
        self.rows
            .push(cells.iter().map(|cell| one_line(cell)).collect());
    }

    /// The table as lines, or the sentence for no rows.
    pub(crate) fn render(&self) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.nothing);
        }
        let columns: Vec<Column> = (0..self.head.len()).map(|i| self.column(i)).collect();
        let head: Vec<String> = self.head.iter().map(|h| bare(h).to_owned()).collect();
        std::iter::once(&head)
            .chain(&self.rows)
            .map(|row| line(&columns, row))
            .collect()
    }

    fn column(&self, index: usize) -> Column {
        let widest = self.rows.iter().map(|row| width(&row[index])).max();
        let name = self.head[index];
        Column {
            width: widest.unwrap_or(0).max(width(bare(name))),
            right: name.starts_with('>'),
        }
    }
}

fn bare(name: &str) -> &str {
    name.trim_start_matches('>')
}

fn line(columns: &[Column], cells: &[String]) -> String {
    let padded = columns.iter().zip(cells).map(|(column, cell)| {
        let padding = " ".repeat(column.width.saturating_sub(width(cell)));
        if column.right {
            padding + cell
        } else {
            cell.clone() + &padding
        }
    });
    let text = padded.collect::<Vec<_>>().join("  ");
    format!("{}\n", text.trim_end())
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `name  value` lines with aligned values.
pub(crate) fn pairs(entries: &[(&str, String)]) -> String {
    let widest = entries.iter().map(|(name, _)| width(name)).max();
    let widest = widest.unwrap_or(0);
    entries
        .iter()
        .map(|(name, value)| {
            let line = format!("{name:widest$}  {}", one_line(value));
            format!("{}\n", line.trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_numbers_stand_right() {
        let mut table = Table::new(&["NAME", ">TERM", ">TRAILS"], "nothing");
        table.row(vec!["jm-1".into(), "3".into(), "0".into()]);
        table.row(vec!["jm-two\n".into(), "12".into()]);
        assert_eq!(
            table.render(),
            "NAME    TERM  TRAILS\njm-1       3       0\njm-two    12\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(&["A"], "no jobs").render(), "no jobs\n");
    }

    #[test]
    fn pairs_align() {
        assert_eq!(
            pairs(&[("job", "x".into()), ("state", String::new())]),
            "job    x\nstate\n"
        );
    }
}
