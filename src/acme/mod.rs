//! Authorities: account, order, challenge, the internal CA. Knows neither SNI nor Pingora.
