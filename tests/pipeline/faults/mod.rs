//! The fault matrix: what breaks in an installation under load, and what must hold all the same. docs/FAULTS.md has the table.

mod ingesters;
