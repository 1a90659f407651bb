package ingest_test

import (
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/ingest"
)

func TestConfig_NamesEveryInvalidSetting(t *testing.T) {
	if err := ingest.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := ingest.Config{BatchRows: 1e6, TargetLatency: -1, MaxAhead: -1}.Validate()
	for _, want := range []string{
		"OEI_INGEST_COMMITTERS: 0 is", "OEI_INGEST_BATCH_ROWS: 1000000 is",
		"OEI_INGEST_TARGET_LATENCY: -1ns is", "OEI_INGEST_MAX_PAYLOAD: 0 is",
		"OEI_INGEST_MAX_BYTES: 0 holds",
		"OEI_INGEST_MAX_AGE: 0s is", "OEI_INGEST_MAX_AHEAD: -1ns is out of range; use 0s to 24h",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
}
