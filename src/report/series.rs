//! `series.csv`: every time series in long form.

use std::io::{self, Write};

use super::Material;

/// Made by hand: three columns, of which only the name can need quotes.
pub fn render(material: &Material<'_>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"t_s,series,value\n")?;
    for (name, series) in material.record.series.iter() {
        let quoted = if name.contains(['"', ',']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.clone() };
        for point in series.iter() {
            writeln!(out, "{},{quoted},{}", point.t, point.value)?;
        }
    }
    Ok(())
}
