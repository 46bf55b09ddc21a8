-- Takes all logs away.
DROP VIEW ${schema}.journal;
DROP FUNCTION ${schema}.as_json, ${schema}.link_places, ${schema}.repeat, ${schema}.append, ${schema}.pass, ${schema}.next_insertion;
DROP TABLE ${schema}.entries, ${schema}.tags, ${schema}.links, ${schema}.parked, ${schema}.passes, ${schema}.log, ${schema}.events, ${schema}.streams, ${schema}.modules;
DROP SEQUENCE ${schema}.revisions, ${schema}.insertions;
