package process_test

import (
	"testing"

	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/storetest"
)

func TestStreamsIsAStore(t *testing.T) {
	storetest.Run(t, func(storetest.T) process.Store { return process.Streams{} })
}

func TestDocumentsIsAStore(t *testing.T) {
	storetest.Run(t, func(storetest.T) process.Store { return process.Documents{} })
}
