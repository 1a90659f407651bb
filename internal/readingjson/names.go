package readingjson

import (
	"strings"
	"unicode"
)

// MemberFor returns the member of a reading that name is a common alias of: timestamp, quality,
// status_code, value, or nothing. Names are compared by their letters and digits alone, in any
// case, so that Time-Stamp is timestamp. Names that can mean something else, such as unit, seq or
// battery, are no aliases.
func MemberFor(name string) string {
	if len(name) > maxName {
		return ""
	}
	return aliases[strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)]
}

// maxName is longer than any alias, separators included.
const maxName = 64

// aliases maps each alias to its member.
var aliases = func() map[string]string {
	all := map[string]string{}
	for member, names := range map[string]string{
		"timestamp": `
			timestamp timestamps timestmp tstamp stamp ts tsms tsus tsns tss time times t tm tms
			datetime dateandtime date dt dts timems timeus timens timesec timesecs timeseconds
			timemillis timeutc timeiso time64 timeunix timestampms timestampus timestampns
			timestamps timestampsec timestampseconds timestampmillis timestamputc timestampiso
			timestampunix utc utctime utctimestamp utcdatetime iso isotime isodate isotimestamp
			iso8601 rfc3339 epoch epochs epochms epochus epochns epochtime epochtimestamp
			epochseconds epochmillis unix unixtime unixtimestamp unixms unixepoch unixtimems
			posixtime sourcetimestamp sourcetime srctimestamp srctime servertimestamp servertime
			devicetimestamp devicetime gatewaytimestamp gatewaytime sensortimestamp sensortime
			plctimestamp plctime opctimestamp opctime eventtime eventtimestamp eventts sampletime
			sampletimestamp samplets sampledat sampletimeutc measuretime measurementtime
			measurementtimestamp measuredat readingtime readingtimestamp readat recordtime
			recordedat recordtimestamp observedat observationtime observedtime phenomenontime
			resulttime acquisitiontime acquiredat capturetime capturedat collectedat collecttime
			collectiontime loggedat logtime localtime localtimestamp localdatetime createdat
			createdtime creationtime occurredat at when clock`,
		"quality": `
			quality qualities q qs ql qual qly qlty qc qcode qualitycode qualityflag qualityflags
			qualitystatus qualitystate qualitystr qualitystring qualitytext qualityname
			dataquality dq opcquality sourcequality valuequality signalquality tagquality
			samplequality good isgood bad isbad uncertain isuncertain valid isvalid validity
			invalid isinvalid status stat valuestatus datastatus samplestatus sensorstatus
			qualitaet qualität`,
		"status_code": `
			statuscode statuscodes sc opcstatus opcstatuscode opcuastatus opcuastatuscode uastatus
			uastatuscode sourcestatus sourcestatuscode statusnumber statusno statusid statusvalue
			statusint statusbits`,
		"value": `
			value values v vs vb vd val vals valu vl valuenum numericvalue numvalue doublevalue
			floatvalue intvalue integervalue longvalue realvalue boolvalue booleanvalue
			stringvalue stringval doubleval floatval intval boolval valuedouble valuefloat
			valueint datavalue tagvalue sensorvalue pointvalue processvalue pv measuredvalue
			measurementvalue measurement measured reading readingvalue currentvalue presentvalue
			actualvalue lastvalue samplevalue wert messwert valeur valor valore`,
	} {
		for name := range strings.FieldsSeq(names) {
			all[name] = member
		}
	}
	return all
}()
