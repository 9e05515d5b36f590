package headers

import "bytes"

// rewritten is a mail as Rewrite makes it, in memory.
type rewritten struct {
	*Result
	Message []byte
}

func rewriteAll(msg []byte, p Policy) (*rewritten, error) {
	r, out, err := Rewrite(bytes.NewReader(msg), p)
	if err != nil {
		return nil, err
	}
	var w bytes.Buffer
	_, err = w.ReadFrom(out)
	return &rewritten{r, w.Bytes()}, err
}

// arrived is a mail as Arrive makes it, in memory.
type arrived struct {
	*Arrived
	Message []byte
}

func arriveAll(msg []byte, s Seal) *arrived {
	a, out, err := Arrive(bytes.NewReader(msg), s)
	var w bytes.Buffer
	if err == nil {
		_, err = w.ReadFrom(out)
	}
	if err != nil {
		panic(err) // reading memory does not fail
	}
	return &arrived{a, w.Bytes()}
}
