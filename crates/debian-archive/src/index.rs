//! Package indexes: `Packages` files, one paragraph a binary package, deb-control(5).
