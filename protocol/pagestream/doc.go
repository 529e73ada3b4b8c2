// Package pagestream holds the messages of page requests, versions 2 and 3: what
// a compute of Neon's asks a pageserver inside CopyBoth (commands pagestream_v2
// and pagestream_v3), and the answers. One message is the payload of one
// CopyData.
//
// Bytes and values only. What an LSN in a request means, waiting, batching and
// pages are the pageserver's business.
//
// Layouts: libs/pageserver_api/src/pagestream_api.rs and
// pgxn/neon/pagestore_client.h of Neon. Integers are big-endian.
package pagestream
