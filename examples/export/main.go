// Command export writes the readings of all sensors of the last days as CSV, from oldest to newest
// per sensor. An export that is cut off continues where it ended.
package main

import (
	"context"
	"encoding/csv"
	"flag"
	"log"
	"os"
	"strconv"
	"time"

	oei "github.com/oei-ms/oei-ms/client"
)

func main() {
	days := flag.Int("days", 30, "how many days to export")
	flag.Parse()
	ctx := context.Background()
	client, err := oei.Dial(ctx, os.Getenv("OEI_URL"), oei.APIKey(os.Getenv("OEI_API_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var sensors []oei.ID
	for sensor, err := range client.Sensors(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		sensors = append(sensors, sensor.ID)
	}
	start := time.Now().AddDate(0, 0, -*days)
	params := oei.ExportReadingsParams{SensorID: sensors, Start: &start}
	params.Include = new(oei.IncludedMemberSensor)
	out := csv.NewWriter(os.Stdout)
	defer out.Flush()
	for reading, err := range client.Export(ctx, params) {
		if err != nil {
			log.Fatal(err)
		}
		value := ""
		if v, err := reading.Value.Get(); err == nil {
			value = strconv.FormatFloat(v, 'g', -1, 64)
		}
		at, quality := reading.Timestamp.Format(time.RFC3339Nano), string(reading.Quality)
		err = out.Write([]string{at, reading.SensorKey, value, reading.Unit, quality})
		if err != nil {
			log.Fatal(err)
		}
	}
}
