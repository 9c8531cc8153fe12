//! The packages as their users see them: rendered with `kubectl kustomize`, alone and under overlays.

mod by_hand;
mod contract;
mod golden;
mod hygiene;
mod jobs;
mod judges;
mod overlays;
mod pod;
mod render;
