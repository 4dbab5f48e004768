//! The sentences of contracts/backtest.md.
