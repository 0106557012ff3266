//! The router against scripted answers: which requests go out, word for word, and what becomes of the answers.

mod aws;
mod credentials;
mod eks;
mod eks_token;
mod errors;
mod reads;
mod shared;
mod signer;
mod target_groups;
mod writes;
