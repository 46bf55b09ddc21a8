package program_test

import (
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/dataset"
	"github.com/ensue-io/ensue/examples/trafficfines/program"
)

// recorded returns the folder with the recorded fines. They are not part of the repository.
func recorded(t *testing.T) string {
	t.Helper()
	folder := cmp.Or(os.Getenv("ENSUE_FINES"), filepath.FromSlash("../../../../shared/data/fines"))
	if _, err := os.Stat(dataset.File(folder, authority.Registry)); err != nil {
		t.Skip("the recorded fines are not there; ENSUE_FINES names their folder: ", err)
	}
	return folder
}

// The recorded fines as a whole take a minute and have a target of their own in the Makefile; here is a part of them.
func TestRecordedFinesEndAsTheOracleSays(t *testing.T) {
	cases := fewer(5000)
	data := slice(t, recorded(t), cases)
	expected := oracle(t, data)
	if expected.Cases != cases || expected.PenaltiesSHA256 != expected.RecordedSHA256 {
		t.Fatalf("the slice is not what it should be: %+v", expected)
	}
	places(t, func(t *testing.T, newAddress func(t *testing.T) string) {
		r, _ := run(t, program.Config{Data: data, Address: newAddress(t)})
		mustEqual(t, r.Figures, expected)
	})
}

// slice copies the events of so many fines, the first ones by their ids.
func slice(t *testing.T, folder string, cases int) string {
	t.Helper()
	fines := map[string]bool{}
	eachRecord(t, dataset.File(folder, authority.Registry), func(n int, record []string) {
		if n > 0 {
			fines[record[2]] = true
		}
	})
	ids := make([]string, 0, len(fines))
	for id := range fines {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	last := ids[min(cases, len(ids))-1]
	to := t.TempDir()
	for _, module := range authority.Sources {
		file, err := os.Create(dataset.File(to, module))
		if err != nil {
			t.Fatal(err)
		}
		zipped := gzip.NewWriter(file)
		table := csv.NewWriter(zipped)
		position := 0
		eachRecord(t, dataset.File(folder, module), func(n int, record []string) {
			if n > 0 && record[2] > last {
				return
			}
			if n > 0 {
				position++
				record[0] = strconv.Itoa(position)
			}
			if err := table.Write(record); err != nil {
				t.Fatal(err)
			}
		})
		table.Flush()
		if err := errors.Join(table.Error(), zipped.Close(), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// eachRecord reads a file line by line; the head is number 0.
func eachRecord(t *testing.T, path string, do func(n int, record []string)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	table := csv.NewReader(unzipped)
	for n := 0; ; n++ {
		record, err := table.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		do(n, record)
	}
}
