//! Every method on every data set at every number of shots, by one protocol: the shape of Table 1 of the InCTRL paper.
//!
//! A *row* is a method on a model. A *cell* is an evaluation ([`crate::study`]) of a row on a data set, with a folder
//! of its own, `<data set>/<method>@<model>`. So a finished cell is kept when rows and data sets are added later, and
//! an interrupted one continues from its journal. If a cell, an image or a data set fails, this is reported, and the
//! others continue.
//!
//! All methods get the same prompts, as the draws depend only on the names of images and the seed. Methods of one model that
//! look at images alike share each encoding ([`crate::evaluation::run_together`]).
//!
//! The table's numbers depend on the data sets, the models and the terms, and have the same bytes in every run. Times
//! differ between runs: they are measured once for each cell, kept in its `costs.json`, and shown only by the page.

mod disagreement;
mod latex;
mod marks;
mod page;
mod run;
mod text;

pub use disagreement::{Disagreement, View};
pub use latex::latex;
pub use run::{Given, Judged, Row, Set, Table, Terms, judge};
pub use text::{csv, json, markdown, write};
