//! The process inside a cell.
