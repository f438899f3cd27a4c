-- A gate that has nothing to measure would refuse every night, or worse, pass every one.
select 'no interaction is in the test part' as problem
where (select count(*) from interactions where part = 'test') = 0
