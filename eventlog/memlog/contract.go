package memlog

import "github.com/ensue-io/ensue/eventlog"

// What a log in memory is and can do.
var (
	_ eventlog.Log           = (*Log)(nil)
	_ eventlog.Linker        = (*Log)(nil)
	_ eventlog.StreamLister  = (*Log)(nil)
	_ eventlog.StreamsReader = (*Log)(nil)
	_ eventlog.StreamKeeper  = (*Log)(nil)
	_ eventlog.Closer        = (*Log)(nil)
)
