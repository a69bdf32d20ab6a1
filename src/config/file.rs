//! The TOML file and how it becomes a [`super::Config`].
