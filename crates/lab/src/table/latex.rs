//! A table for a paper.

use super::marks::Mark;
use super::run::Table;
use super::text::{column, figure, level, published, source, sources};

/// A `tabular` of each metric, for the package `booktabs`.
pub fn latex(table: &Table) -> String {
    let mut text = format!(
        "% inctrl {}; needs \\usepackage{{booktabs}}. Mean and standard deviation over {} draws, in percent.\n",
        env!("CARGO_PKG_VERSION"),
        table.terms.runs
    );
    if let Some(note) = &table.note {
        text += &format!("% {}\n", note.replace('\n', " "));
    }
    let sources = sources(table);
    for metric in table.metrics() {
        text += &format!(
            "\n% {}\n\\begin{{tabular}}{{rl{}}}\n\\toprule\nshots & method",
            metric.title(),
            "r".repeat(table.sets.len())
        );
        table.sets.iter().for_each(|set| text += &format!(" & {}", escaped(&set.name)));
        text += " \\\\\n\\midrule\n & chance";
        table.sets.iter().for_each(|set| text += &format!(" & {}", level(set, metric)));
        text += " \\\\\n";
        for shots in table.shots() {
            text += "\\midrule\n";
            let rows = table.rows_at(shots);
            let columns: Vec<Vec<Mark>> = table.sets.iter().map(|set| column(set, &rows, shots, metric)).collect();
            for (place, &row) in rows.iter().enumerate() {
                text += &format!("{shots} & {}", escaped(&table.title(row)));
                for (set, marks) in table.sets.iter().zip(&columns) {
                    let found = figure(set, row, shots, metric).replace('±', "$\\pm$");
                    text += &match marks[place] {
                        Mark::Best => format!(" & \\textbf{{{found}}}"),
                        Mark::Second => format!(" & \\underline{{{found}}}"),
                        Mark::None => format!(" & {found}"),
                    };
                    if let (Some(figure), Ok(judged)) = (published(set, row, shots, metric), &set.cells[row]) {
                        let at = source(&sources, judged, shots).unwrap_or_default();
                        text += &format!(" ({}$^{{{at}}}$)", figure.replace('±', "$\\pm$"));
                    }
                }
                text += " \\\\\n";
            }
        }
        text += "\\bottomrule\n\\end{tabular}\n";
    }
    for (at, source) in sources.iter().enumerate() {
        text += &format!("% {}: published: {source}\n", at + 1);
    }
    text
}

/// A text without characters that LaTeX reads as commands.
fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        '\\' => "\\textbackslash{}".to_owned(),
        '~' => "\\textasciitilde{}".to_owned(),
        '^' => "\\textasciicircum{}".to_owned(),
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_commands() {
        assert_eq!(escaped("my_set & 50 % {a}\\b"), "my\\_set \\& 50 \\% \\{a\\}\\textbackslash{}b");
    }
}
