//! `series.csv`: every time series in long form.

use super::Material;

/// Made by hand: three columns, of which only the name can need quotes.
pub fn render(material: &Material<'_>) -> Result<String, String> {
    let mut out = String::from("t_s,series,value\n");
    for (name, series) in material.record.series.iter() {
        let quoted = if name.contains(['"', ',']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.clone() };
        for point in series.iter() {
            out.push_str(&format!("{},{quoted},{}\n", point.t, point.value));
        }
    }
    Ok(out)
}
