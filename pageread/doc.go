// Package pageread answers "this page at this LSN": it joins what a pagestore
// holds of a page with redo, keeps the pages made in a cache of bounded memory,
// and waits for WAL that has not arrived yet. It also tells the sizes of
// relations and databases, SLRU segments, and the history of a page.
//
// # What a caller may rely on
//
//  1. A page is what PostgreSQL's recovery would hold at the LSN, or an error.
//     The one thing taken on trust is a request's word that a page did not
//     change since an LSN (see [At]), which clients of the page protocol give.
//  2. Nothing below [Reader.Floor] is read: that is where the base of the
//     timeline became consistent.
//  3. Memory is bounded by the cache's limit and by the requests in progress.
//
// Not here: how records become keys (package ingest), how a record changes a page
// (package redo), the protocol of requests (protocol/pagestream, pageserver).
package pageread
