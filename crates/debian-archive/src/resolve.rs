//! The closure of wanted packages over `Depends` and `Pre-Depends`.
