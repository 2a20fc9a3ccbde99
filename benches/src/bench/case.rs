//! A case: the rows that it prints, and how they are measured.

use pubsub_benches::pairs::Row;

/// Measures a case over so many pairs, one row for each of its names.
type Measure = Box<dyn Fn(usize) -> Result<Vec<Row>, String>>;

pub(crate) struct Case {
    /// The names of its rows, each with its unit.
    pub(crate) rows: Vec<(String, &'static str)>,
    pub(crate) measure: Measure,
}

impl Case {
    /// A case with one row that cannot fail.
    pub(crate) fn one(name: String, unit: &'static str, measure: impl Fn(usize) -> Row + 'static) -> Self {
        Self { rows: vec![(name, unit)], measure: Box::new(move |pairs| Ok(vec![measure(pairs)])) }
    }
}
