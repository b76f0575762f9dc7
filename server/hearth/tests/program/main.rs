//! The real program, driven as people and scripts drive it.

mod run;

mod backup;
mod exec;
mod refusals;
mod whole;
