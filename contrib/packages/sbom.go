package main

import (
	"bytes"
	"fmt"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	"github.com/rs/zerolog"
)

// sbom lists the parts of a program, as CycloneDX 1.6 in JSON: the modules that Go
// says are in the file, with their hashes, and Go itself. It has no serial number
// and no time, which would differ with each build.
func sbom(file string, src *source) ([]byte, error) {
	g, err := bin.NewGenerator(file, bin.WithIncludeStdlib(true), bin.WithVersionOverride(src.version), bin.WithLogger(zerolog.Nop()))
	if err != nil {
		return nil, fmt.Errorf("list the parts of %s: %w", file, err)
	}
	bom, err := g.Generate()
	if err != nil {
		return nil, fmt.Errorf("list the parts of %s: %w", file, err)
	}
	var b bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("write the parts of %s: %w", file, err)
	}
	return b.Bytes(), nil
}
