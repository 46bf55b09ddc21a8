package dataset

import "errors"

func Generate(folder string, cases int, seed uint64) error { return errors.New("TODO") }
