//! Tables for people: plain columns without frames, numbers flush right.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

/// No frames; a line below the header.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-'));

/// How a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Words: flush left.
    Text(&'static str),
    /// Numbers: flush right, so that digits of equal weight are above each other.
    Number(&'static str),
}

/// A table with a header; every row has one cell per column. Ends with a line break.
pub fn render(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let headers = columns.iter().map(|column| match column {
        Column::Text(name) | Column::Number(name) => (*name).to_string(),
    });
    let is_number = columns
        .iter()
        .map(|column| matches!(column, Column::Number(_)));
    layout(headers.collect(), &is_number.collect::<Vec<_>>(), rows)
}

/// As [`render`], for headers known only at run time.
pub fn layout(
    headers: Vec<String>,
    is_number: &[bool],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headers);
    for row in rows {
        table.add_row(row);
    }
    let last = is_number.len() - 1;
    for (index, &is_number) in is_number.iter().enumerate() {
        let column = table.column_mut(index).expect("one column per header");
        // One more space stands between two columns in any case.
        column.set_padding((0, if index == last { 0 } else { 1 }));
        if is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// Multiply-adds, cycles: three digits and a unit, `1.23 M`.
pub fn count(value: u64) -> String {
    scaled(value as f64, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes in units of 1024, `1.23 KiB`.
pub fn bytes(value: u64) -> String {
    scaled(value as f64, 1024.0, &["B", "KiB", "MiB", "GiB"])
}

/// A fraction in [0, 1].
pub fn fraction(value: f64) -> String {
    format!("{value:.4}")
}

/// Milliseconds with four digits, as far as a clock can tell: to the nanosecond at most.
pub fn milliseconds(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        1.0.. => format!("{value:.3}"),
        0.1.. => format!("{value:.4}"),
        0.01.. => format!("{value:.5}"),
        _ => format!("{value:.6}"),
    }
}

/// `4x3x3x3`
pub fn shape(sizes: &[usize]) -> String {
    sizes
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("x")
}

fn scaled(mut value: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.6 would be rounded to 1000, which has the next unit.
    while value >= base - 0.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let number = match value {
        _ if unit == 0 => format!("{value:.0}"),
        99.95.. => format!("{value:.0}"),
        9.995.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    format!("{number} {}", units[unit]).trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let counts = [
            0,
            7,
            999,
            1000,
            1234,
            12_345,
            999_499,
            999_999,
            4_089_284_608,
        ];
        let texts: Vec<String> = counts.into_iter().map(count).collect();
        assert_eq!(
            texts,
            [
                "0", "7", "999", "1.00 k", "1.23 k", "12.3 k", "999 k", "1.00 M", "4.09 G"
            ]
        );
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(3_411_968), "3.25 MiB");
        assert_eq!(milliseconds(0.01234567), "0.01235");
        assert_eq!(milliseconds(123.46), "123.5");
    }

    #[test]
    fn columns_are_aligned_without_trailing_space() {
        let rows = [
            vec!["a".to_string(), "1".into()],
            vec!["long".into(), "23".into()],
        ];
        let text = render(&[Column::Text("name"), Column::Number("n")], rows);
        assert_eq!(text, "name   n\n--------\na      1\nlong  23\n");
    }
}
