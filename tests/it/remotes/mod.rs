//! rclone/: its examples and what its README says of each store, by trying every one that can be tried here.

mod examples;
mod refusals;
mod rows;
mod story;
