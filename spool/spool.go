// Package spool is the language between a spool and those who use it: key
// bundles, requests and replies, and how they are signed. docs/protocol.md
// describes it for other implementations.
//
// It neither stores nor sends anything: spool/server answers requests,
// spool/client asks them through a mix network, spool/badgerstore keeps blocks.
// proxy, the packages beneath it and cmd import it for key bundles, terms and what answers
// mean.
package spool
